/** Columns of text. Must stay true: the last column isn't padded, so that lines don't end in spaces. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  if (rows.length === 0) return []
  const lines = [head, ...rows]
  const widths = head.map((_, column) => Math.max(...lines.map(line => width(line[column] ?? ''))))
  return lines.map(line =>
    line
      .map((cell, column) => (column === line.length - 1 ? cell : cell + ' '.repeat(widths[column]! - width(cell))))
      .join('  ')
      .trimEnd(),
  )
}

/** Characters, not bytes or UTF-16 units. (East Asian characters that take two columns come out narrow; nothing breaks.) */
function width(text: string): number {
  return [...text].length
}
