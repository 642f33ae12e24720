/** Types for what this project uses from packages without types. */
declare module 'picomatch' {
  export default function picomatch(
    glob: string,
    options?: { readonly dot?: boolean },
  ): (path: string) => boolean;
}

declare module 'html-to-text' {
  export function compile(options: object): (html: string) => string;
}
