// The entry of a process that reads one document and ends.
import { convert } from 'html-to-text';
import { extractText, getDocumentProxy } from 'unpdf';
import { decodeText } from './decode.ts';
import { limits } from './limits.ts';
import { nestsDeeper } from './nesting.ts';
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
  if (contentType !== 'text/html') return { passages: splitPassages(read.text) };
  // It takes the square of the depth to read.
  if (nestsDeeper(read.text, limits.nestedElements))
    return { refused: `has more than ${limits.nestedElements} HTML elements within each other` };
  return { passages: splitPassages(readHtml(read.text)) };
}

/**
 * Headings come out as in Markdown, so that they part the passages; a row of a table is a line. Laid out in columns, as the library would,
 * a table takes the square of its rows to read, or what its `colspan` says.
 */
function readHtml(html: string): string {
  const skipped = ['script', 'style', 'noscript', 'template', 'svg', 'nav', 'img'];
  return convert(html, {
    wordwrap: false,
    limits: { maxInputLength: undefined },
    formatters: {
      markdownHeading(element, walk, builder) {
        builder.openBlock({ leadingLineBreaks: 2 });
        builder.addInline(`${'#'.repeat(Number(element.name?.[1]))} `, { noWordTransform: true });
        walk(element.children, builder);
        builder.closeBlock({ trailingLineBreaks: 2 });
      },
      tableRow(element, walk, builder) {
        builder.openBlock({ leadingLineBreaks: 1 });
        const cells = element.children.filter(({ name }) => name === 'td' || name === 'th');
        for (const [index, cell] of cells.entries()) {
          if (index > 0) builder.addInline(' | ');
          walk(cell.children, builder);
        }
        builder.closeBlock({ trailingLineBreaks: 1 });
      },
    },
    selectors: [
      ...['h1', 'h2', 'h3', 'h4', 'h5', 'h6'].map((selector) => ({ selector, format: 'markdownHeading' })),
      ...skipped.map((selector) => ({ selector, format: 'skip' })),
      { selector: 'a', options: { ignoreHref: true } },
      { selector: 'tr', format: 'tableRow' },
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
