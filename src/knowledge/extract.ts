import pLimit from 'p-limit';
import { Refusal, validation } from '../errors.ts';
import { nextMessage, startChild } from './child.ts';
import { decodeText } from './decode.ts';
import type { ExtractAnswer, ExtractRequest } from './extract-process.ts';
import { limits } from './limits.ts';
import { passageCharacters, splitPassages } from './passages.ts';

const timeoutMs = 30_000;
const memoryMegabytes = 512;
/** Each is a process that may use all of the above. */
const limit = pLimit(2);

/** What a document may be written in. Any other text is read as it is. */
export function isReadable(contentType: string): boolean {
  return contentType.startsWith('text/') || contentType === 'application/pdf';
}

/** What is read here: it takes 20 ms at most of ordinary text. */
const smallBytes = 256 * 1024;

/**
 * The passages of a document. HTML, PDF and what is large are read in a process of their own, of 512 MB and for 30 s at most, two at a time.
 * @param contentType without parameters; one that {@link isReadable}.
 * @param field what the refusal names: `text` or `assetId`.
 * @throws Refusal ValidationError (no UTF-8, control characters, no word in it, HTML of more than 512 elements within each other, a PDF
 * that is broken or encrypted, what takes too much to read), LimitExceededError (5,000 passages).
 * @throws OutsideError when the system starts no process.
 */
export async function extractPassages(bytes: Uint8Array, contentType: string, field: string): Promise<string[]> {
  const isPlain = contentType !== 'application/pdf' && contentType !== 'text/html';
  const answer =
    isPlain && bytes.length <= smallBytes ? readPlain(bytes) : await limit(() => ask({ contentType, bytes }));
  if ('refused' in answer) throw validation([{ path: [field], message: answer.refused }]);
  if (!answer.passages) throw tooMany();
  if (answer.passages.length === 0) throw validation([{ path: [field], message: 'holds no text that could be found' }]);
  return answer.passages;
}

function readPlain(bytes: Uint8Array): ExtractAnswer {
  const read = decodeText(bytes);
  return 'refused' in read ? read : { passages: splitPassages(read.text) };
}

const tooMany = () =>
  new Refusal(
    'LimitExceededError',
    'TOO_MANY_PASSAGES',
    `A document has at most ${limits.passages.toLocaleString('en-US')} passages of up to ${passageCharacters} characters; cut it into several documents.`,
    { limit: limits.passages },
  );

async function ask(request: ExtractRequest): Promise<ExtractAnswer> {
  const child = await startChild('extract-process', { memoryMegabytes });
  try {
    child.send(request, () => {});
    const answer = await nextMessage<ExtractAnswer>(child, timeoutMs);
    return answer ?? { refused: `this takes more than ${timeoutMs / 1000} s or ${memoryMegabytes} MB to read` };
  } finally {
    child.kill('SIGKILL');
  }
}
