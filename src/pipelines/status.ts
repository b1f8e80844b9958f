/** Those in which a run has ended; in all others it is live. */
export const endedStatuses = ['COMPLETED', 'FAILED', 'CANCELLED'];
