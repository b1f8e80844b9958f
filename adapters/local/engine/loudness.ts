import { runFfmpeg } from './ffmpeg.ts';
import { InputRefusal } from './refusal.ts';

export interface Normalising {
  /** ffmpeg's arguments that read the recording. */
  read: string[];
  /** Integrated loudness to reach, LUFS. */
  targetLufs: number;
  /** ffmpeg's arguments that encode the result. */
  write: string[];
  /** Seconds of the result that are written. */
  onSeconds(seconds: number): void;
}

const peakLimitDb = -1;
/** What the meter shows for silence. */
const meterFloorLufs = -70;
const toleranceLu = 0.3;
const corrections = 4;

/**
 * Brings the whole recording to a loudness by EBU R 128 with one gain, so that its own dynamics stay. Only where that
 * would lift peaks above -1 dBFS a limiter takes them down, and the gain is corrected for what the limiter took.
 * Resolves with the loudness that was reached, LUFS: below the target where the limiter could give no more.
 * @throws InputRefusal at `path` when there is nothing but silence.
 */
export async function normalise({ read, targetLufs, write, onSeconds }: Normalising, path: string[]): Promise<number> {
  const { loudness, peak } = await measure(read, []);
  if (!Number.isFinite(loudness)) {
    throw new InputRefusal(path, 'holds only silence, which has no loudness to bring to a target');
  }
  let gainDb = targetLufs - loudness;
  let reached = targetLufs;
  const limited = peak + gainDb > peakLimitDb;
  // A second pass of ffmpeg's loudnorm would compress all along here, and misses wide-ranging material by some LU.
  for (let round = 0; limited && round < corrections; round++) {
    reached = (await measure(read, filters(gainDb, limited))).loudness;
    if (Math.abs(targetLufs - reached) <= toleranceLu) break;
    if (round < corrections - 1) gainDb += targetLufs - reached;
  }
  await runFfmpeg([...read, '-map', '0:a:0', '-af', filters(gainDb, limited).join(','), ...write], { onSeconds });
  return reached;
}

function filters(gainDb: number, limited: boolean): string[] {
  const gain = `volume=${gainDb.toFixed(3)}dB`;
  // level=0: the limiter's own make-up gain would undo ours.
  return limited ? [gain, `alimiter=limit=${10 ** (peakLimitDb / 20)}:attack=2:release=40:level=0`] : [gain];
}

/** Integrated loudness in LUFS and true peak in dBTP. ffmpeg's loudnorm also measures, but was seen 2 LU beside EBU R 128. */
async function measure(read: string[], before: string[]): Promise<{ loudness: number; peak: number }> {
  const chain = [...before, 'ebur128=peak=true:framelog=verbose'].join(',');
  const { stderr } = await runFfmpeg([...read, '-map', '0:a:0', '-af', chain, '-f', 'null', '-']);
  const summary = stderr.slice(stderr.lastIndexOf('Integrated loudness:'));
  const loudness = Number(/\sI:\s+(\S+) LUFS/.exec(summary)?.[1]);
  const peak = Number(/\sPeak:\s+(\S+) dBFS/.exec(summary)?.[1]);
  return { loudness: loudness > meterFloorLufs ? loudness : Number.NEGATIVE_INFINITY, peak };
}
