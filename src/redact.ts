/** Shorter values would strike out ordinary words. */
const shortestSecret = 6;

/** A function that strikes the values of secrets out of a text. */
export function redacted(secrets: Record<string, string>): (text: string) => string {
  // The longest first: one may begin with another.
  const values = Object.values(secrets)
    .filter((value) => value.length >= shortestSecret)
    .sort((a, b) => b.length - a.length);
  return (text) => values.reduce((left, value) => left.replaceAll(value, '[secret]'), text);
}
