/** Shorter values would strike out ordinary words. */
const shortestSecret = 6;

/** A function that strikes the values of secrets out of a text. */
export function redacted(secrets: Record<string, string>): (text: string) => string {
  const values = Object.values(secrets).filter((value) => value.length >= shortestSecret);
  return (text) => values.reduce((left, value) => left.replaceAll(value, '[secret]'), text);
}
