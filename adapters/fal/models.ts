import {
  checkMegapixels,
  fillModel,
  findMappedModel,
  type MappedModel,
  mappedModels,
  type RequestContext,
} from 'atelier/adapter';
import type { Config } from './config.ts';
import { known } from './known.ts';

/** The operator's models first, then the known ones that he does not name himself. */
export const modelsOf = ({ models }: Config): MappedModel<Config>[] => mappedModels(models, known);

/** @throws AdapterFailure when a task names a model that is gone from the configuration. */
export const modelOf = ({ models }: Config, id: string): MappedModel<Config> => findMappedModel(models, known, id);

/** The body of a request. */
export function fill(model: MappedModel<Config>, input: object, files: RequestContext['files'], config: Config) {
  checkMegapixels(model, input, config.maxMegapixels);
  return fillModel(model, input, files, config);
}
