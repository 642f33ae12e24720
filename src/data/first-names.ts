/** Returns the first few of some names, and how many more there are: `a.tsv, b.tsv and 3 more`. */
export function firstNames(names: readonly string[], most = 8): string {
  const first = names.slice(0, most).join(', ');
  return names.length > most ? `${first} and ${names.length - most} more` : first;
}
