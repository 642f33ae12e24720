export function nameFault(name: unknown): string | null;
export function joinInside(
  root: string,
  name: unknown,
  what: string,
  fault: (message: string, hint: string) => Error,
): string;
