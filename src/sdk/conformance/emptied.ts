import type { Produced } from '../adapter.ts';
import type { RecordedResponse } from './fixture.ts';
import { leaves, mapped } from './value.ts';

/** The answer without lists, files and their addresses. */
export function withoutFiles(response: RecordedResponse): RecordedResponse {
  if (response.status >= 300) return response;
  if (response.base64 !== undefined) return { ...response, base64: '' };
  if (response.json === undefined) return response;
  const change = (value: unknown) => {
    if (Array.isArray(value)) return [];
    if (typeof value !== 'string') return value;
    return /^(https?:|data:)/.test(value) || /^[A-Za-z0-9+/=\s]{40,}$/.test(value) ? null : value;
  };
  return { ...response, json: mapped(response.json, change) };
}

/** The texts of a result, by their paths in it. */
export function wordsOf({ result }: Produced<unknown>): Map<string, string> {
  const words = [...leaves(result)].filter(
    (entry): entry is [string, string] => typeof entry[1] === 'string' && entry[1].trim() !== '',
  );
  return new Map(words);
}

/** The answer with an empty text wherever it holds one of these or a piece of it: in its fields, or in those of its events. */
export function withoutWords(response: RecordedResponse, words: string[]): RecordedResponse {
  if (response.status >= 300) return response;
  const holdsWords = (value: string): boolean =>
    value !== '' && words.some((word) => word.includes(value.trim()) || value.includes(word));
  const change = (value: unknown, name: string) =>
    typeof value === 'string' && !isName(name) && holdsWords(value) ? '' : value;
  if (response.json !== undefined) return { ...response, json: mapped(response.json, change) };
  if (response.text === undefined) return response;
  const lines = response.text.split('\n').map((line) => {
    const [, prefix = '', content = ''] = /^(data: ?)?(.*)$/s.exec(line) ?? [];
    try {
      return prefix + JSON.stringify(mapped(JSON.parse(content), change));
    } catch {
      return line;
    }
  });
  return { ...response, text: lines.join('\n') };
}

/** A field of a word that is not of the text, even where the text has it: `"role": "assistant"`. */
const isName = (field: string): boolean =>
  /(^|_)ids?$|[a-z]Ids?$|type|role|object|model|status|state|phase|event|reason|version|url/.test(field);
