/** Rows as aligned columns under a heading; a column of numbers, some of which may be left out, stands to the right. */
export function renderTable(heading: string[], rows: (string | number)[][]): string {
  const widths = heading.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => String(row[column]).length)),
  );
  const isNumeric = heading.map((_, column) =>
    rows.every((row) => typeof row[column] === 'number' || row[column] === ''),
  );
  const line = (cells: (string | number)[]) =>
    cells
      .map((cell, column) =>
        isNumeric[column] ? String(cell).padStart(widths[column]!) : String(cell).padEnd(widths[column]!),
      )
      .join('   ')
      .trimEnd();
  return [line(heading), widths.map((width) => '─'.repeat(width)).join('───'), ...rows.map(line)]
    .map((text) => `  ${text}\n`)
    .join('');
}
