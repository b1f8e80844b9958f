import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { downloadResults } from '../cli/download.ts';
import type { AssetFacts, Client } from '../client.ts';
import { outputDirectory } from './services.ts';

/** Of the pipeline demo alone: what an earlier one left is dropped. */
export const articlesDirectory = join(outputDirectory, 'pipeline');
const pageSize = 50;
const longestSlug = 50;

interface Origin {
  id: string;
  kind: string;
  origin?: Origin[];
}

interface Item extends Origin {
  data: { title?: unknown; markdown?: unknown };
  assets: AssetFacts[];
}

/** Leaves an empty folder for the articles. */
export function emptyArticles(): void {
  rmSync(resolve(articlesDirectory), { recursive: true, force: true });
  mkdirSync(resolve(articlesDirectory), { recursive: true });
}

/**
 * Writes each article as `NN-slug.md`, and beside it the images that were made from it, as `NN-slug.png`, or `NN-slug-1.png` … of several.
 * @returns the names of all files, and how many articles have no image.
 */
export async function writeArticles(
  client: Client,
  projectId: string,
): Promise<{ files: string[]; articles: number; withoutImage: number }> {
  const directory = resolve(articlesDirectory);
  const articles = await readAll(client, projectId, 'article', '');
  const images = await readAll(client, projectId, 'image', madeFrom);
  const files: string[] = [];
  let withoutImage = 0;
  for (const [index, { id, data }] of articles.entries()) {
    const title = String(data.title ?? 'Article');
    const name = articleName(index + 1, articles.length, title);
    const assets = images.filter((image) => isMadeFrom(image, id)).flatMap((image) => image.assets);
    const pictures = (await downloadResults({ id, assets }, directory, name)).map(({ file }) => basename(file));
    if (pictures.length === 0) withoutImage++;
    writeFileSync(join(directory, `${name}.md`), illustrate(String(data.markdown ?? ''), title, pictures));
    files.push(`${name}.md`, ...pictures);
  }
  return { files, articles: articles.length, withoutImage };
}

/** PURE. The name of an article's files, without extension. */
export function articleName(number: number, count: number, title: string): string {
  const slug = title
    .normalize('NFKD')
    .toLowerCase()
    .replace(/\p{M}+/gu, '')
    .replace(/[^\p{L}\p{N}]+/gu, '-');
  const short = [...slug]
    .slice(0, longestSlug)
    .join('')
    .replace(/^-+|-+$/g, '');
  return `${String(number).padStart(Math.max(2, String(count).length), '0')}-${short || 'article'}`;
}

/** PURE. The article with its pictures below its top heading, which it is given where it has none. */
export function illustrate(markdown: string, title: string, pictures: string[]): string {
  // Models like to put what they write between fences.
  const [, inner = markdown] = /^\s*```(?:markdown|md)?\n(.*?)\n?```\s*$/s.exec(markdown) ?? [];
  const text = inner.trim();
  const [heading = ''] = /^# .*/.exec(text) ?? [];
  const links = pictures.map((file) => `![${title.replace(/[[\]\\]/g, '\\$&')}](${encodeURI(file)})`);
  const parts = [heading || `# ${title}`, ...links, text.slice(heading.length).trim()];
  return `${parts.filter(Boolean).join('\n\n')}\n`;
}

/** From an image by its prompt to the article. */
const madeFrom = 'origin { id kind origin { id kind } }';

const isMadeFrom = ({ origin = [] }: Origin, id: string): boolean =>
  origin.some((each) => each.id === id || isMadeFrom(each, id));

async function readAll(client: Client, projectId: string, kind: string, more: string): Promise<Item[]> {
  const query = `query ($project: ID!, $kind: String!, $first: Int, $after: String) {
    items(projectId: $project, kind: $kind, first: $first, after: $after) {
      nodes { id kind data assets { id kind contentType sizeBytes width height durationMs url } ${more} }
      pageInfo { hasNextPage endCursor }
    }
  }`;
  const all: Item[] = [];
  for (let after: string | null = null; ; ) {
    const { items }: any = await client.request(query, { project: projectId, kind, first: pageSize, after });
    all.push(...items.nodes);
    if (!items.pageInfo.hasNextPage) return all;
    after = items.pageInfo.endCursor;
  }
}
