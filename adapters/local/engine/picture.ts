import { readFile } from 'node:fs/promises';
import { type Image, loadImage, type SKRSContext2D } from '@napi-rs/canvas';
import { fileTypeFromBuffer } from 'file-type';
import type { InputFile } from '../input-file.ts';
import { InputRefusal } from './refusal.ts';

const maxPixels = 64_000_000;
const accepted = ['image/png', 'image/jpeg', 'image/webp', 'image/gif', 'image/avif', 'image/bmp'];

/**
 * A picture of the input, decoded.
 * @throws InputRefusal when it is none of PNG, JPEG, WebP, GIF, AVIF and BMP, is damaged, or has more than 64 million pixels.
 */
export async function loadPicture({ file, path }: InputFile): Promise<Image> {
  const bytes = await readFile(file as string);
  const type = await fileTypeFromBuffer(bytes);
  if (!type || !accepted.includes(type.mime))
    throw new InputRefusal(path, 'must be a PNG, JPEG, WebP, GIF, AVIF or BMP image');
  const picture = await loadImage(bytes).catch(() => {
    throw new InputRefusal(path, `cannot be decoded as ${type.mime}`);
  });
  if (picture.width * picture.height > maxPixels) {
    throw new InputRefusal(
      path,
      `has ${picture.width} × ${picture.height} pixels; at most ${maxPixels.toLocaleString('en')} are allowed`,
    );
  }
  return picture;
}

/** Draws the picture over the whole area, cut where its shape differs. */
export function drawCover(context: SKRSContext2D, picture: Image, width: number, height: number): void {
  const scale = Math.max(width / picture.width, height / picture.height);
  const [across, down] = [picture.width * scale, picture.height * scale];
  context.drawImage(picture, (width - across) / 2, (height - down) / 2, across, down);
}
