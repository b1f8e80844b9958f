import { join } from 'node:path';
import { type Canvas, createCanvas, type Image, type SKRSContext2D } from '@napi-rs/canvas';
import type { Camera } from '../direction.ts';
import type { FilmAnswer, VideoRequest } from '../video.ts';
import { encodeFilm } from './film.ts';
import { drawCover, loadPicture } from './picture.ts';
import { between, pick, randomFrom } from './random.ts';
import { paintScene } from './scene.ts';
import type { Work } from './work.ts';

/** Pictures are prepared this much larger than the film, so that moving closer stays sharp. */
const oversize = 1.25;

interface Shot {
  picture: Canvas;
  camera: Camera;
}

/** Films the storyboard, or three to five scenes painted from the description, with camera moves and cross-fades. */
export async function makeVideo(request: VideoRequest, work: Work): Promise<FilmAnswer> {
  const { width, height, framesPerSecond, durationSeconds, lights, seed } = request;
  const shots = await prepareShots(request);
  const canvas = createCanvas(width, height);
  const context = canvas.getContext('2d');
  context.imageSmoothingQuality = 'medium';
  const shotSeconds = durationSeconds / shots.length;
  const fadeSeconds = Math.min(0.8, shotSeconds * 0.35);
  const file = join(work.directory, 'video.mp4');
  const film = await encodeFilm(
    {
      width,
      height,
      framesPerSecond,
      durationSeconds,
      draw(_index, seconds) {
        const at = Math.min(shots.length - 1, Math.floor(seconds / shotSeconds));
        // A shot goes on moving while the next one fades in over it, half of the fade on either side of the cut.
        const show = (shot: number, opacity: number) => {
          const begin = shot * shotSeconds - fadeSeconds / 2;
          drawShot(context, shots[shot]!, (seconds - begin) / (shotSeconds + fadeSeconds), opacity, width, height);
        };
        const since = seconds - at * shotSeconds;
        const left = shotSeconds - since;
        if (at > 0 && since < fadeSeconds / 2) {
          show(at - 1, 1);
          show(at, 0.5 + since / fadeSeconds);
        } else {
          show(at, 1);
          if (at < shots.length - 1 && left < fadeSeconds / 2) show(at + 1, 0.5 - left / fadeSeconds);
        }
        for (const light of lights) {
          context.globalCompositeOperation = light.blend;
          context.globalAlpha = light.opacity;
          context.fillStyle = light.colour;
          context.fillRect(0, 0, width, height);
        }
        context.globalCompositeOperation = 'source-over';
        context.globalAlpha = 1;
        return canvas.data();
      },
    },
    file,
    work,
  );
  return { file, durationSeconds: film.durationSeconds, seed };
}

async function prepareShots(request: VideoRequest): Promise<Shot[]> {
  const [width, height] = [Math.round(request.width * oversize), Math.round(request.height * oversize)];
  const random = randomFrom(request.seed, request.sceneDescription, 'camera');
  const pictures: Canvas[] = [];
  for (const entry of request.storyboard) {
    const picture: Image = await loadPicture(entry);
    const canvas = createCanvas(width, height);
    drawCover(canvas.getContext('2d'), picture, width, height);
    pictures.push(canvas);
  }
  if (pictures.length === 0) {
    const sentences = request.sceneDescription
      .split(/(?<=[.!?;])\s+|\n+/)
      .filter((sentence) => /\p{L}/u.test(sentence));
    const count = Math.min(5, Math.max(3, Math.round(request.durationSeconds / 2.5)));
    for (let index = 0; index < count; index++) {
      const scene =
        sentences.length > 1 ? sentences[Math.floor((index * sentences.length) / count)]! : request.sceneDescription;
      pictures.push(paintScene(scene, String(BigInt(request.seed) + BigInt(index)), width, height));
    }
  }
  return pictures.map((picture) => {
    const across = pick(random, [-1, 1]) * between(random, 0.4, 1);
    const closer = random() < 0.5;
    const gentle: Camera = {
      view: closer ? [0.96, 0.8] : [0.8, 0.96],
      x: [-across, across],
      y: [between(random, -0.5, 0.5), 0],
      roll: 0,
      shake: 0,
    };
    return { picture, camera: { ...gentle, ...request.camera } };
  });
}

/** `time` runs from 0 to 1 over the shot. */
function drawShot(
  context: SKRSContext2D,
  { picture, camera }: Shot,
  time: number,
  opacity: number,
  width: number,
  height: number,
): void {
  const eased = time + (time * time * (3 - 2 * time) - time) * 0.6;
  const along = ([start, end]: [number, number]) => start + (end - start) * eased;
  // A rolled frame needs a margin, or its corners would be empty.
  const view = along(camera.view) * (camera.roll ? 0.86 : 1) * (camera.shake ? 0.96 : 1);
  const scale = width / (picture.width * view);
  const sway = (speed: number) => camera.shake * Math.sin(time * speed) * 0.012;
  const room = (1 - view) / 2;
  context.save();
  context.globalAlpha = opacity;
  context.translate(width / 2, height / 2);
  context.rotate((camera.roll * Math.PI) / 180);
  context.scale(scale, scale);
  context.drawImage(
    picture,
    -picture.width * (0.5 + along(camera.x) * room + sway(37)),
    -picture.height * (0.5 + along(camera.y) * room + sway(53)),
  );
  context.restore();
}
