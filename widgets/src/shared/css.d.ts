// Bundles of widgets hold their style sheets as text (see shadow.ts); the page's goes into a file beside its script.
declare module "*.css" {
  const text: string;
  export default text;
}
