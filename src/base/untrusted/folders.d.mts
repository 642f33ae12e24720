type Fault = (message: string, hint: string) => Error;
export function folderBelow(root: string, parts: readonly string[], fault: Fault): string | null;
export function privateFolder(cache: string, parts: readonly string[], fault: Fault): string;
export function makePrivateFolder(cache: string, parts: readonly string[], fault: Fault): string;
