/** A table of faults, each with what a user reads, compared word for word. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { LoadOptions } from '../../../src/experiment/types.ts';
import { createRig } from '../rig.ts';

export interface Fault {
  readonly fault: string;
  readonly spec: string;
  readonly options?: Partial<LoadOptions>;
  /** Other files of the folder. */
  readonly files?: { readonly [path: string]: string };
  /** Everything printed but the count at the end. */
  readonly shows: string;
}

/** The suite; the file that holds the table runs it. */
export function testFaults(name: string, faults: readonly Fault[]): { run(): void } {
  const test = suite(name);
  for (const { fault, spec, options, files, shows } of faults) {
    test(fault, async () => {
      const rig = await createRig();
      try {
        await rig.write(files ?? {});
        const count = shows.match(/^error\[/gm)?.length ?? 0;
        assert.is(
          await rig.faults(spec, options),
          `${shows}\n\n${count === 1 ? '1 error' : `${count} errors`}\n`,
        );
      } finally {
        await rig.remove();
      }
    });
  }
  return test;
}
