// The entry of a process that reads one document and ends.
import { convert } from 'html-to-text';
import { extractText, getDocumentProxy } from 'unpdf';
import { decodeText } from './decode.ts';
import { splitPassages } from './passages.ts';

export interface ExtractRequest {
  contentType: string;
  bytes: Uint8Array;
}

/** passages: null = too many. refused: what is wrong with the document, for its owner. */
export type ExtractAnswer = { passages: string[] | null } | { refused: string };

async function extract({ contentType, bytes }: ExtractRequest): Promise<ExtractAnswer> {
  const read = contentType === 'application/pdf' ? await readPdf(bytes) : decodeText(bytes);
  if ('refused' in read) return read;
  return { passages: splitPassages(contentType === 'text/html' ? readHtml(read.text) : read.text) };
}

/** Headings come out as in Markdown, so that they part the passages. */
function readHtml(html: string): string {
  const skipped = ['script', 'style', 'noscript', 'template', 'svg', 'nav', 'img'];
  return convert(html, {
    wordwrap: false,
    limits: { maxInputLength: undefined, maxDepth: 500 },
    formatters: {
      markdownHeading(element, walk, builder) {
        builder.openBlock({ leadingLineBreaks: 2 });
        builder.addInline(`${'#'.repeat(Number(element.name?.[1]))} `, { noWordTransform: true });
        walk(element.children, builder);
        builder.closeBlock({ trailingLineBreaks: 2 });
      },
    },
    selectors: [
      ...['h1', 'h2', 'h3', 'h4', 'h5', 'h6'].map((selector) => ({ selector, format: 'markdownHeading' })),
      ...skipped.map((selector) => ({ selector, format: 'skip' })),
      { selector: 'a', options: { ignoreHref: true } },
      { selector: 'table', format: 'dataTable' },
    ],
  });
}

async function readPdf(bytes: Uint8Array): Promise<{ text: string } | { refused: string }> {
  try {
    const { text } = await extractText(await getDocumentProxy(new Uint8Array(bytes), { verbosity: 0 }), {
      mergePages: false,
    });
    return { text: text.join('\n\n') };
  } catch (error) {
    const isLocked = (error as Error).name === 'PasswordException';
    return { refused: isLocked ? 'this PDF is encrypted: remove its password first' : 'this PDF cannot be read' };
  }
}

process.once('message', async (request: ExtractRequest) => {
  const answer = await extract(request);
  process.send!(answer, () => process.exit());
});
process.on('disconnect', () => process.exit());
