import { createRequire } from 'node:module';
import { GlobalFonts } from '@napi-rs/canvas';

/** The family that captions use: shipped in a package, since a bare machine has no font at all. */
export const fontFamily = 'DejaVu Sans';

const require = createRequire(import.meta.url);

/** Its files, absolute: regular and bold. */
export const fontFiles = ['DejaVuSans.ttf', 'DejaVuSans-Bold.ttf'].map((name) =>
  require.resolve(`dejavu-fonts-ttf/ttf/${name}`),
);

/** Makes the family known to the canvas. */
export function registerFonts(): void {
  for (const file of fontFiles) GlobalFonts.registerFromPath(file, fontFamily);
}
