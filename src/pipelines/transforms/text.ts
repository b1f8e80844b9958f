import type { PipelineItem, Transformed } from '../../sdk/index.ts';

/** The items that have a text in a field, a string or a number, each with it; the others, and why they are left out. */
export function withTexts(items: PipelineItem[], field: string) {
  const rejected: NonNullable<Transformed['rejected']> = [];
  const taken = items.flatMap(({ id, data }) => {
    const value: unknown = data[field] ?? '';
    const isText = typeof value === 'string' || typeof value === 'number';
    const text = String(isText ? value : '');
    if (text.trim() !== '') return [{ id, data, text }];
    rejected.push({ id, reason: isText ? `it has no ${field}` : `its ${field} is no text` });
    return [];
  });
  return { taken, rejected };
}

/** The parameter that names the field, as a JSON Schema. */
export const fieldParameter = { type: 'string', minLength: 1, description: 'Where the text is. Default: text.' };
