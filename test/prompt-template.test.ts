import { checkExpectations, fillTemplate, judgeExpectations } from 'atelier/adapter';
import { describe, expect, it } from 'vitest';

const judge = (expectations: string[], text: string) =>
  judgeExpectations(expectations, text, 'nothing').map(({ passed }) => passed);

describe('a template', () => {
  it('has its variables filled in, objects as JSON, and leaves those that are missing as they are, each told once', () => {
    const { rendered, missing } = fillTemplate('{{a}} {{ b.c }} {{d}} {{x}} {{x.y}} {{constructor}}', {
      a: 1,
      'b.c': 'dotted',
      b: { c: 'nested' },
      d: { e: [true] },
    });
    expect(rendered).toBe('1 dotted {"e":[true]} {{x}} {{x.y}} {{constructor}}');
    expect(missing).toEqual(['x', 'x.y', 'constructor']);
  });

  it.each([
    ['{{a}}{{long}}', 100_000, true],
    ['{{long}}{{a}}', 100_000, true],
    ['{{long}}{{a}}', 100_001, false],
    ['{{a}}{{long}}', 100_001, false],
  ])('%s may be %i characters long: %s, whatever comes first', (template, length, fits) => {
    const fill = () => fillTemplate(template, { a: '', long: 'x'.repeat(length) });
    if (fits) expect(fill().rendered).toHaveLength(length);
    else expect(fill).toThrow('100000');
  });
});

describe('expectations', () => {
  it('are texts, negations and regular expressions', () => {
    expect(judge(['Ada', '!bob', '/^hello, \\w+/i', '! /bye/', '/ADA/'], 'Hello, ada')).toEqual([
      true,
      true,
      true,
      true,
      false,
    ]);
    expect(judge(['HELLO', '/^hello/', '! Ada', '/x/', '!'], 'Hello Ada')).toEqual([true, false, false, false, false]);
    expect(judge([], '')).toEqual([]);
  });

  it.each([
    ['that backtracks without end', '/(a+)+$/', `${'a'.repeat(60)}b`],
    ['that is busy before it meets any text', `/${'(?:|)'.repeat(40)}z/`, ''],
  ])('with one %s end, and name it', (_, slow, text) => {
    expect(() => judge(['fine', '/ok/', slow], text)).toThrow('expectations.2');
  });

  it('have one budget of time together', () => {
    // Each of them takes some milliseconds, so many of them more than all may.
    const slow = Array.from({ length: 600 }, () => '/^(a+)+$/');
    expect(() => judge(slow, `${'a'.repeat(25)}!`)).toThrow(/^expectations\.\d+: takes too long/);
  });

  it('meet long texts of any letters', () => {
    expect(judge(['/^是+$/'], '是'.repeat(50_000))).toEqual([true]);
  });

  it('are checked without being tried', () => {
    expect(() => checkExpectations(['fine', '/(/'])).toThrow('expectations.1');
    checkExpectations([`/${'(?:|)'.repeat(200)}z/`]);
  });
});
