import type { Config } from '../config.ts';
import type { Storage } from './storage.ts';

export declare function openStorage(config: Config, options: { publicUrl: string; secret: string }): Storage;
