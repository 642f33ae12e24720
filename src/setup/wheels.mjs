/**
 * The TensorFlow that the binding is built against, pinned by hash. Its C libraries are the same in
 * the wheels of every Python version, so the wheel of one version, `PYTHON`, serves all.
 */
export const TENSORFLOW = '2.21.0';
export const PYTHON = '3.11';

/** @typedef {{ name: string, version: string, sha256: string }} Wheel */

const CPU = {
  x64: {
    name: 'tensorflow-cpu',
    version: TENSORFLOW,
    sha256: '2b847d217b02ee7731ed91431daf3250daa0196c3c94614d23be27232e6e5b6c',
  },
  arm64: {
    name: 'tensorflow',
    version: TENSORFLOW,
    sha256: '4b24aca16d527a3cf1c37f720c04c484c3d20f4d0fdfa98632ac8b9f3be6eb5c',
  },
};

/** The CUDA build, and the packages that its extra `and-cuda` resolved to. */
const CUDA_X64 = [
  {
    name: 'tensorflow',
    version: TENSORFLOW,
    sha256: '9056fbc9ba04235810b71ae6cbd958a196e8804fb53bbcffbf3e23b56155f124',
  },
  {
    name: 'nvidia-cublas-cu12',
    version: '12.9.3.13',
    sha256: 'd7d51055f161b317c7105ddaae90e71eda059026074ffef93cf7cde2886bfe72',
  },
  {
    name: 'nvidia-cuda-cupti-cu12',
    version: '12.8.90',
    sha256: 'ea0cb07ebda26bb9b29ba82cda34849e73c166c18162d3913575b0c9db9a6182',
  },
  {
    name: 'nvidia-cuda-nvcc-cu12',
    version: '12.9.86',
    sha256: '5d6a0d32fdc7ea39917c20065614ae93add6f577d840233237ff08e9a38f58f0',
  },
  {
    name: 'nvidia-cuda-nvrtc-cu12',
    version: '12.9.86',
    sha256: '210cf05005a447e29214e9ce50851e83fc5f4358df8b453155d5e1918094dcb4',
  },
  {
    name: 'nvidia-cuda-runtime-cu12',
    version: '12.9.79',
    sha256: '25bba2dfb01d48a9b59ca474a1ac43c6ebf7011f1b0b8cc44f54eb6ac48a96c3',
  },
  {
    name: 'nvidia-cudnn-cu12',
    version: '9.28.0.42',
    sha256: '9ff58b7f36dacd0a93e89f8f2957b52466889217963701daa15e577317cfa375',
  },
  {
    name: 'nvidia-cufft-cu12',
    version: '11.4.1.4',
    sha256: 'c67884f2a7d276b4b80eb56a79322a95df592ae5e765cf1243693365ccab4e28',
  },
  {
    name: 'nvidia-curand-cu12',
    version: '10.3.10.19',
    sha256: '49b274db4780d421bd2ccd362e1415c13887c53c214f0d4b761752b8f9f6aa1e',
  },
  {
    name: 'nvidia-cusolver-cu12',
    version: '11.7.5.82',
    sha256: '15da72d1340d29b5b3cf3fd100e3cd53421dde36002eda6ed93811af63c40d88',
  },
  {
    name: 'nvidia-cusparse-cu12',
    version: '12.5.10.65',
    sha256: '73060ce019ac064a057267c585bf1fd5a353734151f87472ff02b2c5c9984e78',
  },
  {
    name: 'nvidia-nccl-cu12',
    version: '2.32.3',
    sha256: 'bb94b2348e4861d5e8aa00b36c3d12d9bdf9c6369b82cbb723de0b582280a21c',
  },
  {
    name: 'nvidia-nvjitlink-cu12',
    version: '12.9.86',
    sha256: 'e3f1171dbdc83c5932a45f0f4c99180a70de9bd2718c1ab77d14104f6d7147f9',
  },
];

/**
 * The platform tags that are passed to pip, newest first, so that it does not use the machine's
 * own.
 */
export const PLATFORMS = {
  x64: [
    'manylinux_2_27_x86_64',
    'manylinux_2_17_x86_64',
    'manylinux2014_x86_64',
    'manylinux_2_12_x86_64',
    'manylinux2010_x86_64',
  ],
  arm64: ['manylinux_2_27_aarch64', 'manylinux_2_17_aarch64', 'manylinux2014_aarch64'],
};

/**
 * @param {'cpu' | 'cuda'} variant
 * @param {string} platform process.platform
 * @param {string} arch process.arch
 * @returns {readonly Wheel[] | null} null if no wheel with C libraries is known for this platform
 */
export function wheelsFor(variant, platform, arch) {
  if (platform !== 'linux') return null;
  if (variant === 'cuda') return arch === 'x64' ? CUDA_X64 : null;
  return arch === 'x64' ? [CPU.x64] : arch === 'arm64' ? [CPU.arm64] : null;
}

/**
 * Whether a file of a wheel is unpacked. The C libraries, the headers that the binding includes,
 * and licences are. The rest is Python.
 * @param {string} path inside the wheel
 */
export function isNeeded(path) {
  if (path.endsWith('/')) return false;
  return (
    /^tensorflow\/(libtensorflow_(cc|framework)\.so\.2|THIRD_PARTY_NOTICES\.txt)$/.test(path) ||
    /^tensorflow\/include\/(tensorflow\/c|tensorflow\/core\/platform|xla\/tsl|tsl)\/./.test(path) ||
    /^nvidia\/[^/]+\/(lib|bin|nvvm)\/.+/.test(path) ||
    /^(tensorflow|nvidia)[^/]*\.dist-info\/.*licen[cs]e/i.test(path)
  );
}
