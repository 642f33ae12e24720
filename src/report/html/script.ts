/**
 * Downloads an inline figure as a file. Without JavaScript its button stays hidden, and the page
 * loses nothing else.
 */
export const script = `
for (const button of document.querySelectorAll('button[data-figure]')) {
  button.hidden = false;
  button.addEventListener('click', () => {
    const svg = document.querySelector('[data-drawing="' + button.dataset.figure + '"] svg');
    const text = new XMLSerializer().serializeToString(svg);
    const url = URL.createObjectURL(new Blob([text], { type: 'image/svg+xml' }));
    const link = document.createElement('a');
    link.href = url;
    link.download = button.dataset.figure + '.svg';
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  });
}
`.trim();
