import { create } from 'content-disposition';

/**
 * The Content-Disposition of a stored file (RFC 6266, names per RFC 5987). Media and plain text show in the browser;
 * everything that could run there, as SVG and HTML, is saved instead.
 */
export function disposition(contentType: string, fileName: string): string {
  const shows = /^(image\/(?!svg)|video\/|audio\/|text\/plain|application\/json)/.test(contentType);
  return create(fileName, { type: shows ? 'inline' : 'attachment' });
}
