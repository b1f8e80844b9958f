import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Image } from '@napi-rs/canvas';
import type { ImageAnswer, ImageRequest } from '../image.ts';
import { drawCaption } from './caption.ts';
import { registerFonts } from './font.ts';
import { drawCover, loadPicture } from './picture.ts';
import { paintScene } from './scene.ts';
import type { Work } from './work.ts';

/** Writes `count` PNG files; image number i is painted from seed + i. */
export async function makeImages(request: ImageRequest, work: Work): Promise<ImageAnswer> {
  registerFonts();
  const references: Image[] = [];
  for (const reference of request.references) references.push(await loadPicture(reference));
  const files: string[] = [];
  for (let index = 0; index < request.count; index++) {
    work.progress((index + 0.1) / request.count, 'painting');
    const canvas = paintScene(
      request.prompt,
      String(BigInt(request.seed) + BigInt(index)),
      request.width,
      request.height,
    );
    const context = canvas.getContext('2d');
    references.forEach((picture, place) => {
      // Each keeps its share of what the ones before it left.
      context.globalAlpha = request.referenceStrength / (place + 1);
      drawCover(context, picture, request.width, request.height);
    });
    context.globalAlpha = 1;
    if (request.caption) drawCaption(context, request.prompt, request.width, request.height);
    work.progress((index + 0.5) / request.count, 'encoding');
    const file = join(work.directory, `image-${index + 1}.png`);
    await writeFile(file, await canvas.encode('png'));
    files.push(file);
    work.progress((index + 1) / request.count, 'encoding');
  }
  return { files, seed: request.seed };
}
