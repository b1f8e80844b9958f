import { describe, expect, it } from 'vitest';
import { articleName, illustrate } from '../src/demo/articles.ts';
import { type Books, compareBill } from '../src/demo/bill.ts';
import { checkProvider } from '../src/demo/provider.ts';
import { demoEnvironment } from '../src/demo/services.ts';

describe('what a demo takes over from the environment', () => {
  it('is what sets adapters, plugins and embeddings, and never the services that are configured', () => {
    const taken = {
      PATH: '/bin',
      OPENAI_API_KEY: 'sk',
      ATELIER_ADAPTER_OPENAI: '{}',
      ATELIER_EMBEDDINGS_URL: 'http://127.0.0.1:1/v1',
      ATELIER_EMBEDDINGS_KEY_FILE: '/run/key',
      ATELIER_PLUGINS: './acme.mjs',
      ATELIER_ALLOWED_HOSTS: '127.0.0.1:1',
    };
    const left = {
      DATABASE_URL: 'postgresql://live',
      DATABASE_URL_FILE: '/run/database',
      REDIS_URL: 'redis://live',
      S3_BUCKET: 'live',
      ATELIER_SECRET: 'x',
      ATELIER_PORT: '4000',
      ATELIER_API_KEY: 'atl_live',
      ATELIER_STORAGE_DIRECTORY: '/srv/live',
      ATELIER_REDIS_PREFIX: 'live',
    };
    expect(demoEnvironment({ ...taken, ...left })).toEqual(taken);
  });
});

describe('the provider of the texts', () => {
  const ownServer = { ATELIER_ADAPTER_OPENAI: '{"baseUrl":"http://127.0.0.1:11434/v1"}' };

  it('is switched on by the address of a server alone, without a key', async () => {
    await expect(checkProvider(ownServer, 'openai')).resolves.toBeUndefined();
  });

  it.each([
    ['opnai', {}, /no provider is called "opnai"; there are local, openai/],
    ['openai', {}, /switched off: set OPENAI_API_KEY.*ATELIER_ADAPTER_OPENAI='\{"baseUrl"/s],
    ['fal', ownServer, /switched off: set FAL_KEY$/],
  ])('%s with %j is refused in words that say what to do', async (name, environment, words) => {
    await expect(checkProvider(environment, name)).rejects.toThrow(words);
  });
});

describe('an article and its images', () => {
  it('share a name that says what it is about', () => {
    expect(articleName(3, 16, 'Why is my sourdough dense?')).toBe('03-why-is-my-sourdough-dense');
    expect(articleName(3, 160, ' Crème brûlée / 2 ways ')).toBe('003-creme-brulee-2-ways');
    expect(articleName(1, 1, 'Übung 日本 '.repeat(20))).toMatch(/^01-[\p{L}\p{N}-]{48,50}$/u);
    expect(articleName(1, 1, '../..')).toBe('01-article');
  });

  it.each<[markdown: string, pictures: string[], whole: string]>([
    ['# Soil\n\nDig.\n', ['01-soil.png'], '# Soil\n\n![A \\[title\\]](01-soil.png)\n\nDig.\n'],
    ['# Soil\nDig.', [], '# Soil\n\nDig.\n'],
    [
      'Dig.\n\n## More',
      ['1.png', '日.png'],
      '# A [title]\n\n![A \\[title\\]](1.png)\n\n![A \\[title\\]](%E6%97%A5.png)\n\nDig.\n\n## More\n',
    ],
    ['```markdown\n# Soil\n\nDig.\n```', ['1.png'], '# Soil\n\n![A \\[title\\]](1.png)\n\nDig.\n'],
    ['', ['1.png'], '# A [title]\n\n![A \\[title\\]](1.png)\n'],
  ])('are one text: %j with %j', (markdown, pictures, whole) => {
    expect(illustrate(markdown, 'A [title]', pictures)).toBe(whole);
  });
});

describe('the bill of a run', () => {
  const entry = (leg: string, amount: number, availableChange: number, heldChange: number, tags?: string[]) => ({
    leg,
    amount,
    availableChange,
    heldChange,
    task: tags ? { tags } : null,
  });
  const stage = (key: string, creditsUsed: number) => ({ key, status: 'COMPLETED', done: 1, failed: 0, creditsUsed });
  const run = { id: 'run_1', creditsUsed: 5, stages: [stage('ideas', 2), stage('images', 3)] };
  const books: Books = {
    available: 95,
    held: 0,
    entries: [
      entry('RELEASE', 15, 15, -15),
      entry('CAPTURE', 3, 0, -3, ['run_1', 'images']),
      entry('CAPTURE', 1, 0, -1, ['run_1', 'ideas']),
      entry('CAPTURE', 1, 0, -1, ['run_1', 'ideas']),
      entry('HOLD', 20, -20, 20),
      entry('GRANT', 100, 100, 0),
    ],
  };

  it('agrees with the ledger stage by stage', () => {
    const { table, differences } = compareBill(run, books);
    expect(differences).toEqual([]);
    expect(table).toMatch(/ideas +completed +1 +0 +2 +2 +✓\n +images +completed +1 +0 +3 +3 +✓\n +sum +5 +5 +✓\n/);
  });

  it('names each stage that differs, also when the sums are the same', () => {
    const swapped = { ...run, stages: [stage('ideas', 3), stage('images', 2)] };
    expect(compareBill(swapped, books).differences).toEqual([
      'ideas: 3, but the ledger says 2',
      'images: 2, but the ledger says 3',
    ]);
  });

  it('names what no stage accounts for, and what is still held', () => {
    const more = [entry('CAPTURE', 4, 0, -4), entry('HOLD', 6, -6, 6), ...books.entries];
    expect(compareBill(run, { available: 89, held: 2, entries: more }).differences).toEqual([
      'sum: 5, but the ledger says 9',
      'held: 2 are left after the end of the run',
    ]);
  });
});
