import type { FastifyRequest } from 'fastify'
import { originOf } from '../origin.ts'
import { atLeast, type Microversion } from '../microversion.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** The microversion that was negotiated. */
    computeVersion: Microversion
  }
}

export const since = (request: FastifyRequest, version: string): boolean =>
  atLeast(request.computeVersion, version)

export const paramOf = (request: FastifyRequest, key: string): string =>
  (request.params as Record<string, string>)[key] ?? ''

export interface Link {
  rel: string
  href: string
}

/** `self` and `bookmark`, as every resource of the Compute API has them. */
export function linksOf(request: FastifyRequest, path: string): Link[] {
  const origin = originOf(request)
  return [
    { rel: 'self', href: `${origin}/compute/v2.1/${path}` },
    { rel: 'bookmark', href: `${origin}/compute/${path}` },
  ]
}

export const bookmarkOf = (request: FastifyRequest, path: string): Link => ({
  rel: 'bookmark',
  href: `${originOf(request)}/compute/${path}`,
})

/** The link to the page after the one that ends with `marker`. */
export function nextLink(request: FastifyRequest, marker: string): Link {
  const url = new URL(request.url, originOf(request))
  url.searchParams.set('marker', marker)
  return { rel: 'next', href: url.toString() }
}

/** `2026-11-22T10:00:00Z`. */
export const isoTime = (time: string): string => `${time.slice(0, 19)}Z`
/** `2026-11-22T10:00:00.000000`. */
export const microTime = (time: string | null): string | null =>
  time === null ? null : `${time.slice(0, 23)}000`
