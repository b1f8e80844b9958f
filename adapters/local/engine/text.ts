import type { TextAnswer, TextRequest } from '../text.ts';
import { makeValue } from './json-value.ts';
import { InputRefusal } from './refusal.ts';

const common = new Set(
  'a about above after again all also an and any are as at be because been before being below between both but by can could did do does down during each few for from further had has have he her here his how i if in into is it its just like make me more most my no nor not of off on once only or other our out over own please same she should so some such than that the their them then there these they this those through to too under until up use very was we were what when where which while who why will with would write you your write short article list describe explain story poem text paragraph paragraphs sentence sentences words please give tell'.split(
    ' ',
  ),
);

/** A text from templates and the prompt's own words, or a JSON value that is valid for the schema. Always the same for the same request. */
export async function answerText({ prompt, maxTokens, responseSchema }: TextRequest): Promise<TextAnswer> {
  if (responseSchema === null) {
    const text = composeText(prompt, maxTokens);
    return { text, tokens: wordsOf(text).length };
  }
  const value = await makeValue(responseSchema.schema, {
    topic: topicOf(prompt),
    words: keywordsOf(`${topicOf(prompt)} ${prompt}`),
  });
  const text = JSON.stringify(value, null, 2);
  const tokens = wordsOf(text).length;
  if (tokens > maxTokens)
    throw new InputRefusal(['maxTokens'], `JSON of this schema takes ${tokens} tokens; ${maxTokens} are allowed`);
  return { text, json: { value }, tokens };
}

/** Headline, opening, what the prompt says, its themes, and a line that says where this comes from; at most `maxTokens` words. */
export function composeText(prompt: string, maxTokens: number): string {
  const topic = topicOf(prompt);
  const keywords = [...new Set([...keywordsOf(topic), ...keywordsOf(prompt)])];
  const [first = topic, second = first, third = second] = keywords;
  const sentences = sentencesOf(prompt).slice(0, 40);
  const paragraphs = [
    `# ${capitalise(topic)}`,
    `This is a first look at ${topic}. It stands on ${listOf(keywords.slice(0, 3), topic)}, and what follows takes them one by one.`,
    sentences.length > 0
      ? `The brief says: ${sentences.map((sentence) => (/[.!?…]$/.test(sentence) ? sentence : `${sentence}.`)).join(' ')}`
      : '',
    first === topic
      ? ''
      : `Begin with ${first}. It is what a reader meets first, so it sets the tone for everything else. From there the way leads to ${second}, which gives the whole its shape, and to ${third}, which people will remember.`,
    keywords.length > 3
      ? `In the background stand ${listOf(keywords.slice(3, 8), topic)}: smaller parts, each with its place.`
      : '',
    `In one sentence: ${topic}, told plainly, from its beginning to its end.`,
    "Composed by Atelier's local engine from templates and the words of the prompt; no language model wrote this.",
  ];
  return limit(paragraphs.filter(Boolean).join('\n\n'), maxTokens);
}

/** What the prompt asks about, without the asking. */
function topicOf(prompt: string): string {
  const line = sentencesOf(prompt)[0] ?? prompt.trim();
  const asked = line
    .replace(/^(please|could you|can you|now)\s+/i, '')
    .replace(
      /^(write|describe|explain|create|generate|draft|compose|summari[sz]e|tell( me)?|give( me)?|list|make|produce|return)\s+/i,
      '',
    )
    .replace(/^(an?|the|some|one|two|three|\d+)?\s*([\w-]+\s+){0,3}?(about|on|for|of|how|what|why)\s+/i, '');
  const words = wordsOf(asked || line)
    .slice(0, 12)
    .join(' ');
  return words.replace(/[\s.,:;!?]+$/, '') || 'the prompt';
}

function keywordsOf(prompt: string): string[] {
  const counts = new Map<string, number>();
  for (const word of prompt.toLowerCase().match(/\p{L}[\p{L}\p{N}'-]{2,}/gu) ?? []) {
    if (!common.has(word)) counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  // A sort keeps the order of equals: the prompt's own.
  return [...counts]
    .sort(([, a], [, b]) => b - a)
    .slice(0, 12)
    .map(([word]) => word);
}

function sentencesOf(text: string): string[] {
  const parts = text.split(/(?<=[.!?…])\s+|\n+/);
  return parts.map((part) => part.trim()).filter((part) => /\p{L}|\p{N}/u.test(part));
}

function limit(text: string, maxTokens: number): string {
  const words = [...text.matchAll(/\S+/g)];
  const last = words[maxTokens - 1];
  return words.length <= maxTokens || !last ? text : text.slice(0, last.index + last[0].length);
}

function wordsOf(text: string): string[] {
  return text.match(/\S+/g) ?? [];
}

function listOf(words: string[], otherwise: string): string {
  if (words.length === 0) return otherwise;
  return words.length === 1 ? words[0]! : `${words.slice(0, -1).join(', ')} and ${words.at(-1)}`;
}

function capitalise(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
