export function folderBelow(
  root: string,
  parts: readonly string[],
  fault: (message: string, hint: string) => Error,
): string | null;
