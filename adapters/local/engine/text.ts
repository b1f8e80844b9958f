import type { TextAnswer, TextRequest } from '../text.ts';
import { makeValue } from './json-value.ts';
import { InputRefusal } from './refusal.ts';
import { capitalise, keywordsOf, sentencesOf, subjectsOf, topicOf, wordsOf } from './topic.ts';

/** A text from templates and the prompt's own words, or a JSON value that is valid for the schema. Always the same for the same request. */
export async function answerText({ prompt, maxTokens, responseSchema }: TextRequest): Promise<TextAnswer> {
  if (responseSchema === null) {
    const text = composeText(prompt, maxTokens);
    return { text, tokens: wordsOf(text).length };
  }
  const topic = topicOf(prompt);
  const value = await makeValue(responseSchema.schema, {
    topic,
    words: keywordsOf(`${topic} ${prompt}`),
    subjects: subjectsOf(prompt, topic),
  });
  const text = JSON.stringify(value, null, 2);
  const tokens = wordsOf(text).length;
  if (tokens > maxTokens)
    throw new InputRefusal(['maxTokens'], `JSON of this schema takes ${tokens} tokens; ${maxTokens} are allowed`);
  return { text, json: { value }, tokens };
}

/**
 * Headline, opening, a section on each thing that the prompt names (else what it says, and its themes), and a line that says where this comes
 * from; at most `maxTokens` words.
 */
export function composeText(prompt: string, maxTokens: number): string {
  const topic = topicOf(prompt);
  const subjects = subjectsOf(prompt, topic);
  const keywords = [...new Set([...keywordsOf(topic), ...keywordsOf(prompt)])];
  const paragraphs = [
    `# ${capitalise(topic)}`,
    `This is a first look at ${topic}. It stands on ${listOf(subjects.length > 0 ? subjects : keywords.slice(0, 3), topic)}, and what follows takes them one by one.`,
    ...(subjects.length > 0 ? sectionsOn(subjects, topic) : themesOf(prompt, topic, keywords)),
    `In one sentence: ${topic}, told plainly, from its beginning to its end.`,
    "Composed by Atelier's local engine from templates and the words of the prompt; no language model wrote this.",
  ];
  return limit(paragraphs.filter(Boolean).join('\n\n'), maxTokens);
}

function sectionsOn(subjects: string[], topic: string): string[] {
  return subjects.flatMap((subject, index) => {
    // In English the thing comes last, as in "how to get rid of aphids".
    const word = keywordsOf(subject).at(-1) ?? subject;
    const sayings = [
      `Whoever asks about ${topic} soon comes to this. Begin with ${word}, look at what is there already, and change one thing at a time.`,
      `This is where many questions begin. What matters most is ${word}; the rest follows from it.`,
      `Take it in small steps: first ${word}, then what stands around it, and in the end the whole.`,
      `Nobody gets this right the first time. Keep a note of ${word}, and compare it with the last time.`,
    ];
    return [`## ${capitalise(subject)}`, sayings[index % sayings.length]!];
  });
}

function themesOf(prompt: string, topic: string, keywords: string[]): string[] {
  const [first = topic, second = first, third = second] = keywords;
  const sentences = sentencesOf(prompt).slice(0, 40);
  return [
    sentences.length > 0
      ? `The brief says: ${sentences.map((sentence) => (/[.!?…]$/.test(sentence) ? sentence : `${sentence}.`)).join(' ')}`
      : '',
    first === topic
      ? ''
      : `Begin with ${first}. It is what a reader meets first, so it sets the tone for everything else. From there the way leads to ${second}, which gives the whole its shape, and to ${third}, which people will remember.`,
    keywords.length > 3
      ? `In the background stand ${listOf(keywords.slice(3, 8), topic)}: smaller parts, each with its place.`
      : '',
  ];
}

function limit(text: string, maxTokens: number): string {
  const words = [...text.matchAll(/\S+/g)];
  const last = words[maxTokens - 1];
  return words.length <= maxTokens || !last ? text : text.slice(0, last.index + last[0].length);
}

function listOf(words: string[], otherwise: string): string {
  if (words.length === 0) return otherwise;
  return words.length === 1 ? words[0]! : `${words.slice(0, -1).join(', ')} and ${words.at(-1)}`;
}
