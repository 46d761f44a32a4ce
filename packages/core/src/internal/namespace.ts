/** A name as one segment of a namespace, in which `/` only separates. */
export const segment = (name: string): string => name.replace(/[%/]/g, encodeURIComponent)
