/** What a document may be at most. The docstrings of the GraphQL fields say the same numbers. */
export const limits = {
  documentBytes: 10 * 1024 * 1024,
  passages: 5_000,
  /** HTML elements within each other; browsers go as deep. */
  nestedElements: 512,
  titleCharacters: 300,
  tags: 20,
  tagCharacters: 100,
  categoryCharacters: 100,
  weight: 10,
  queryCharacters: 2_000,
  found: 20,
} as const;
