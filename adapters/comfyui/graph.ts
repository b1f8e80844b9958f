import { z } from 'atelier/adapter';

/** A workflow in ComfyUI's API format: node id → class and inputs. An input is a value, or a link `[node id, output]`. */
export const graph = z.record(
  z.string(),
  z.looseObject({ class_type: z.string(), inputs: z.record(z.string(), z.json()) }),
);

export type Graph = z.output<typeof graph>;

/** A place in a graph: node id, a dot, the name of an input. `6.text` */
export const slot = z.string().regex(/^[^.]+\..+$/, 'must be a node and its input, as "6.text"');

/** @returns undefined where the graph has no such input. */
export function valueAt(graph: Graph, slot: string): unknown {
  const [node, input] = partsOf(slot);
  const inputs = graph[node]?.inputs;
  return inputs && Object.hasOwn(inputs, input) ? inputs[input] : undefined;
}

/** Changes the graph. */
export function put(graph: Graph, slots: string[], value: unknown): void {
  for (const slot of slots) {
    const [node, input] = partsOf(slot);
    graph[node]!.inputs[input] = value as never;
  }
}

/** What people call a node: its title in the editor, else its class. */
export function titleOf(graph: Graph | undefined, node: string): string {
  const { _meta, class_type } = (graph?.[node] ?? {}) as { _meta?: { title?: unknown }; class_type?: string };
  return typeof _meta?.title === 'string' ? _meta.title : (class_type ?? `node ${node}`);
}

function partsOf(slot: string): [node: string, input: string] {
  const dot = slot.indexOf('.');
  return [slot.slice(0, dot), slot.slice(dot + 1)];
}
