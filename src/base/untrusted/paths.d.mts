type Fault = (message: string, hint: string) => Error;
export function nameFault(name: unknown): string | null;
export function joinInside(root: string, name: unknown, what: string, fault: Fault): string;
export function folderBelow(root: string, parts: readonly string[], fault: Fault): string | null;
export function privateFolder(cache: string, parts: readonly string[], fault: Fault): string;
export function makePrivateFolder(cache: string, parts: readonly string[], fault: Fault): string;
