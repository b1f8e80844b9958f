/** Workers hear that a run may have something to do. */
export const runsChannel = 'runs';
/** Who watches runs hears that one has new events. */
export const runEventsChannel = 'run-events';
