import { defineAdapter } from 'atelier/adapter';
import { describe, expect, it } from 'vitest';

const acme = {
  name: 'acme',
  contract: 1,
  version: '1.0.0',
  title: 'Acme',
  runs: 'vendor',
  resubmit: 'never',
  models: [{ id: 'acme-1', taskTypes: ['generate_text'] }],
  transformers: {
    generate_text: {
      toProvider: () => ({ request: {}, warnings: [] }),
      fromProvider: () => ({ outputs: [], result: { text: 'Good day.' } }),
    },
  },
  start: async () => ({ answer: {} }),
} as const;
const define = (more: object) => () => defineAdapter({ ...acme, ...more } as any);

describe('defineAdapter', () => {
  it.each([
    ['startTimeoutMS', 'startTimeoutMs'],
    ['titel', 'title'],
    ['recieve', 'receive'],
    ['cancle', 'cancel'],
    ['website_', 'website'],
    ['resubmits', 'resubmit'],
  ])('refuses the field %s, and asks whether %s was meant', (name, meant) => {
    expect(define({ [name]: 1 })).toThrow(
      new TypeError(`adapter "acme": there is no field "${name}"; did you mean "${meant}"?`),
    );
  });

  it('names every field that it does not know, and says where what is of the adapter’s own stands', () => {
    expect(define({ authorization: () => {}, constructor: 1, polls: 1 })).toThrow(
      /there is no field "authorization"; what is the adapter's own, .* outside of it; .*"constructor".*; .*"polls"; did you mean "poll"\?$/,
    );
  });

  it('first names the older of two contracts: a later one has other fields', () => {
    expect(define({ contract: 2, watch: () => {} })).toThrow('it speaks contract 2');
  });

  it('takes symbols, what is undefined, and an adapter that it made itself', () => {
    const poll = async () => ({ state: 'running' });
    const adapter = define({ [Symbol('own')]: 1, helper: undefined, poll, cancel: undefined })();
    expect(defineAdapter({ ...adapter, name: 'other' })).toMatchObject({ name: 'other', poll });
  });
});
