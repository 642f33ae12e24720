/** What is used here of packages that come without types. */
declare module 'picomatch' {
  export default function picomatch(
    glob: string,
    options?: { readonly dot?: boolean },
  ): (path: string) => boolean;
}

declare module 'html-to-text' {
  export function compile(options: object): (html: string) => string;
}
