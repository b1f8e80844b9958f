import { quoted } from '../../errors.ts';
import { defineTransform } from '../../sdk/index.ts';
import { fieldParameter, withTexts } from './text.ts';

/** Lets each text pass once: trimmed, and whatever its case and spaces. */
export const uniqueTexts = defineTransform({
  name: 'unique_texts',
  description: 'Trims the field that `parameters.field` names (default: text), and lets each text pass once.',
  parameters: { type: 'object', properties: { field: fieldParameter }, additionalProperties: false },
  apply(items, { parameters: { field = 'text' } }) {
    const { taken, rejected } = withTexts(items, field);
    const seen = new Set<string>();
    const passed = taken.flatMap(({ id, data, text: given }) => {
      const text = given.trim().replace(/\s+/g, ' ');
      const key = text.toLowerCase();
      if (!seen.has(key)) {
        seen.add(key);
        return [{ data: { ...data, [field]: text }, from: [id] }];
      }
      rejected.push({ id, reason: `${quoted(text)} is there already` });
      return [];
    });
    return { items: passed, rejected };
  },
});
