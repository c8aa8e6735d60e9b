import type { VolumeFacts } from '../../app/volume-facts.ts'
import type { VolumePageRequest } from '../../domain/volume-query.ts'
import type { VolumeMark } from '../../ports/block-storage.ts'
import { volumeFullDetail, type VolumeViewer } from './volume-view.ts'

/** Volumes whose texts are kept, each once for each kind of viewer: about 1.3 KiB each. */
const mostKept = 4000
/** Pages of which it is remembered that they were asked for once. */
const mostSeen = 2000

interface Kept {
  mark: string
  text: Buffer
}

/** A page of volumes in detail as JSON. */
export interface VolumeTexts {
  /** Whether this page was asked for before: to keep what nobody asks for again would cost more than it gains. */
  isAskedAgain(viewer: VolumeViewer, request: VolumePageRequest): boolean
  /** The text of each volume of the page that is there, in the page's order. */
  page(
    viewer: VolumeViewer,
    of: { marks: readonly VolumeMark[]; referred: object },
    factsOf: (ids: readonly string[]) => Promise<VolumeFacts[]>,
  ): Promise<Buffer[]>
}

/**
 * Most of what a list costs is reading rows and writing them as JSON, and most volumes are as they were when they were
 * listed last. A text is used again only while its volume has the mark that was read before the text was made, and what
 * volumes refer to is the same: it cannot be older than the database. When there are too many, all are dropped.
 */
export function createVolumeTexts(most = mostKept): VolumeTexts {
  let referredTo: object | undefined
  let count = 0
  const seen = new Set<string>()
  const viewers = new Map<string, Map<string, Kept>>()
  const forget = (): void => {
    viewers.clear()
    count = 0
  }
  const keep = (viewer: VolumeViewer, id: string, kept: Kept): void => {
    if (count >= most) forget()
    const texts = viewers.get(viewer.key) ?? new Map<string, Kept>()
    viewers.set(viewer.key, texts)
    if (!texts.has(id)) count += 1
    texts.set(id, kept)
  }
  return {
    isAskedAgain(viewer, request) {
      const page = `${viewer.key} ${JSON.stringify(request)}`
      if (seen.has(page)) return true
      if (seen.size >= mostSeen) seen.clear()
      seen.add(page)
      return false
    },
    async page(viewer, { marks, referred }, factsOf) {
      if (referred !== referredTo) forget()
      referredTo = referred
      const texts = new Map<string, Buffer>()
      const known = viewers.get(viewer.key)
      const missing: VolumeMark[] = []
      for (const { id, mark } of marks) {
        const kept = known?.get(id)
        if (kept?.mark === mark) texts.set(id, kept.text)
        else missing.push({ id, mark })
      }
      if (missing.length > 0) {
        const markOf = new Map(missing.map(({ id, mark }) => [id, mark]))
        for (const facts of await factsOf([...markOf.keys()])) {
          const { id } = facts.volume
          const text = Buffer.from(JSON.stringify(volumeFullDetail(viewer, facts)))
          texts.set(id, text)
          // Another request may have found meanwhile that what they refer to has changed.
          if (referred === referredTo) keep(viewer, id, { mark: markOf.get(id) ?? '', text })
        }
      }
      return marks.flatMap(({ id }) => texts.get(id) ?? [])
    },
  }
}

const comma = Buffer.from(',')

/** `{"volumes":[…]}` with the other fields behind it: the very bytes that `JSON.stringify` of the whole would give. */
export function volumesText(texts: readonly Buffer[], others: Record<string, unknown>): Buffer {
  const rest = JSON.stringify(others)
  const parts: Buffer[] = [Buffer.from('{"volumes":[')]
  for (const [index, text] of texts.entries()) {
    if (index > 0) parts.push(comma)
    parts.push(text)
  }
  parts.push(Buffer.from(rest === '{}' ? ']}' : `],${rest.slice(1)}`))
  return Buffer.concat(parts)
}
