import {
  checkMegapixels,
  fillModel,
  findMappedModel,
  type MappedModel,
  mappedModels,
  type RequestContext,
  refuseInput,
} from 'atelier/adapter';
import type { Config } from './config.ts';
import { known } from './known.ts';

/** The operator's models first, then the known ones that he does not name himself. */
export const modelsOf = ({ models }: Config): MappedModel<Config>[] => mappedModels(models, known);

/** @throws AdapterFailure when a task names a model that is gone from the configuration. */
export const modelOf = ({ models }: Config, id: string): MappedModel<Config> => findMappedModel(models, known, id);

/** The `input` of a prediction. */
export function fill(model: MappedModel<Config>, input: object, files: RequestContext['files'], config: Config) {
  checkMegapixels(model, input, config.maxMegapixels);
  checkCharacters(model, input, config.maxInputCharacters);
  return fillModel(model, input, files, config);
}

/** What a model reads is charged to the operator, and not to the task. */
function checkCharacters(
  { taskTypes }: MappedModel,
  { prompt = '', system = '' }: { prompt?: string; system?: string },
  maxCharacters: number,
): void {
  if (taskTypes.includes('generate_text') && prompt.length + system.length > maxCharacters)
    refuseInput('prompt', `with system, it has more than the ${maxCharacters} characters that are allowed here`);
}
