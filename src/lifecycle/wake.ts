const eventShards = 16;

/** Events are spread over a fixed number of channels, so that an API process listens to all of them at a fixed cost. */
export function eventChannel(taskId: string): string {
  return `events:${Number.parseInt(taskId.slice(-2), 16) % eventShards}`;
}

export const eventChannels = Array.from({ length: eventShards }, (_, shard) => `events:${shard}`);

/** A task that draws on a run's hold has ended. */
export const drawnChannel = 'drawn';
