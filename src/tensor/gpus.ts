/** Which GPUs this process may use. */
import { existsSync, readdirSync } from 'node:fs';

/** This file exists only in WSL, where CUDA has one device file for all GPUs. */
const WSL = '/usr/lib/wsl/lib/libcuda.so.1';

/**
 * Returns the NVIDIA GPUs that CUDA_VISIBLE_DEVICES lists, by the names it uses (`0`,
 * `GPU-8932f937`, …), or all GPUs if it is not set. GPUs are counted by their device files, without
 * asking the driver.
 */
export function visibleGpus(
  env: Readonly<Record<string, string | undefined>>,
  devices = '/dev',
): readonly string[] {
  const count =
    process.platform !== 'linux'
      ? 0
      : readdirSync(devices).filter((name) => /^nvidia\d+$/.test(name)).length ||
        (existsSync(WSL) ? 1 : 0);
  if (count === 0) return [];
  const listed = env['CUDA_VISIBLE_DEVICES']?.split(',').map((gpu) => gpu.trim());
  if (listed === undefined) return Array.from({ length: count }, (_, i) => String(i));
  // As in CUDA, the first invalid entry hides all that follow.
  const end = listed.findIndex(
    (gpu) => gpu === '' || gpu === '-1' || (/^\d+$/.test(gpu) && Number(gpu) >= count),
  );
  return end < 0 ? listed : listed.slice(0, end);
}
