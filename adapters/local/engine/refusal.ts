/** The input cannot be worked on: crosses to the worker as an `invalid_input` failure with these issues. */
export class InputRefusal extends Error {
  readonly issues: { path: string[]; message: string }[];
  /** `path` is the field in the task type's input. */
  constructor(path: string[], message: string) {
    super(message);
    this.name = 'InputRefusal';
    this.issues = [{ path, message }];
  }
}

/** The machine lacks something that an operator can install. */
export class MissingPiece extends Error {
  override name = 'MissingPiece';
}
