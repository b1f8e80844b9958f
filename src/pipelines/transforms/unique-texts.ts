import { defineTransform } from '../../sdk/index.ts';

/** Lets each text pass once: trimmed, and whatever its case and spaces. */
export const uniqueTexts = defineTransform({
  name: 'unique_texts',
  description: 'Trims the field that `parameters.field` names (default: text), and lets each text pass once.',
  apply(items, { parameters: { field = 'text' } }) {
    const seen = new Map<string, string>();
    const rejected: { id: string; reason: string }[] = [];
    const passed = items.flatMap(({ id, data }) => {
      const text = String(data[field] ?? '')
        .trim()
        .replace(/\s+/g, ' ');
      const key = text.toLowerCase();
      const reason = key === '' ? `it has no ${field}` : seen.has(key) ? `"${text}" is there already` : undefined;
      if (reason) rejected.push({ id, reason });
      else seen.set(key, id);
      return reason ? [] : [{ data: { ...data, [field]: text }, from: [id] }];
    });
    return { items: passed, rejected };
  },
});
