/** Tests tables of faults: what a user reads is compared word for word. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { LoadOptions } from '../../../src/spec/types.ts';
import { createRig } from '../rig.ts';

export interface Fault {
  /** The name of the test. */
  readonly fault: string;
  readonly spec: string;
  readonly options?: Partial<LoadOptions>;
  /** Other files in the folder of the spec. */
  readonly files?: { readonly [path: string]: string };
  /** What is printed, without the count at the end. */
  readonly shows: string;
}

/** A suite with one test for each fault. The file that holds the table runs it. */
export function testFaults(name: string, faults: readonly Fault[]): { run(): void } {
  const test = suite(name);
  for (const { fault, spec, options, files, shows } of faults) {
    test(fault, async () => {
      const rig = await createRig();
      await rig.write(files ?? {});
      const count = shows.match(/^error\[/gm)?.length ?? 0;
      assert.is(
        await rig.faults(spec, options),
        `${shows}\n\n${count === 1 ? '1 error' : `${count} errors`}\n`,
      );
    });
  }
  return test;
}
