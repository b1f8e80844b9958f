const common = new Set(
  'a about above after again all also an and any are as at be because been before being below between both but by can could did do does down during each few for from further had has have he her here his how i if in into is it its just like make me more most my no nor not of off on once only or other our out over own please same she should so some such than that the their them then there these they this those through to too under until up use very was we were what when where which while who why will with would write you your write short article list describe explain story poem text paragraph paragraphs sentence sentences words please give tell idea ideas article articles headings brief called titled markdown question questions answer answers people reader readers'.split(
    ' ',
  ),
);

const mostSubjects = 6;
/** A name or a phrase in quotation marks. */
const quoted = /(?<=^|[\s[(,:])["“]([^"“”\n]{2,80})["”](?=$|[\s\])},.:;!?])/gm;
/** What a text is that a quotation names. */
const named =
  /\b(?:called|titled|entitled|named|article|story|post|page|text|essay|chapter|poem|song)\s+["“]([^"“”\n]{2,80})["”]/i;

/** What the prompt asks about, without the asking. */
export function topicOf(prompt: string): string {
  const line = sentencesOf(prompt)[0] ?? prompt.trim();
  const [, name] = named.exec(line) ?? [];
  if (name) return name.trim();
  const asked = line
    .replace(/^(please|could you|can you|now)\s+/i, '')
    .replace(
      /^(write|describe|explain|create|generate|draft|compose|summari[sz]e|tell( me)?|give( me)?|list|make|produce|return)\s+/i,
      '',
    )
    .replace(/^(an?|the|some|one|two|three|\d+)?\s*([\w-]+\s+){0,3}?(about|on|for|of|how|what|why)\s+/i, '')
    // As what is left of "two ideas for articles about whales".
    .replace(/^[\w-]+\s+about\s+/i, '');
  const words = wordsOf(asked || line)
    .slice(0, 12)
    .join(' ');
  return words.replace(/[\s.,:;!?]+$/, '') || 'the prompt';
}

/** What else the prompt puts in quotation marks, as in a list of what people search for; at most six, each once. */
export function subjectsOf(prompt: string, topic: string): string[] {
  const found = [...prompt.matchAll(quoted)].map(([, phrase]) => phrase!.trim());
  const others = found.filter((phrase) => phrase.toLowerCase() !== topic.toLowerCase());
  return [...new Set(others)].slice(0, mostSubjects);
}

/** The words that say what it is about, the most frequent first; at most twelve. */
export function keywordsOf(prompt: string): string[] {
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

export function sentencesOf(text: string): string[] {
  const parts = text.split(/(?<=[.!?…])\s+|\n+/);
  return parts.map((part) => part.trim()).filter((part) => /\p{L}|\p{N}/u.test(part));
}

export function wordsOf(text: string): string[] {
  return text.match(/\S+/g) ?? [];
}

export function capitalise(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
