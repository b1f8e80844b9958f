import type { AssetReference } from 'atelier/adapter';

/** A file of the input and the field that it came from, so that a complaint about it can name its place. */
export interface InputFile {
  /** Atelier puts a local path in the reference's place before the engine sees it. */
  file: AssetReference | string;
  /** As ['sources', '0'] or ['sourceAssetIds', '0']. */
  path: string[];
}

/** The files of one pair of fields: `urlCount` of them come from URLs, the others are assets. PURE. */
export function inputFiles(files: AssetReference[], urls: string, urlCount: number, assetIds: string): InputFile[] {
  return files.map((file, index) => ({
    file,
    path: index < urlCount ? [urls, String(index)] : [assetIds, String(index - urlCount)],
  }));
}
