import { ApiError } from './api-error.ts'
import type { Session } from './session.ts'

export interface Image {
  id: string
  name: string | null
  status: string
  [property: string]: unknown
}

export interface ImageClient {
  /** The one image of that name. Throws `ApiError` 404 where there is none. */
  named(name: string): Promise<Image>
  setProperty(id: string, property: string, value: string): Promise<void>
}

export function imageClient(session: Session): ImageClient {
  return {
    async named(name) {
      const answer = await session.json('GET', '/image/v2/images', { query: { name } })
      const [image] = (answer as { images: Image[] }).images
      if (image === undefined) throw new ApiError(404, `There is no image '${name}'.`)
      return image
    },
    async setProperty(id, property, value) {
      await session.json('PATCH', `/image/v2/images/${encodeURIComponent(id)}`, {
        headers: { 'content-type': 'application/openstack-images-v2.1-json-patch' },
        body: [{ op: 'add', path: `/${property}`, value }],
      })
    },
  }
}
