import { createImageApp, type ImageApp, type ImageOptions } from '../../app/image/index.ts'
import type { ImageRegistry } from '../../ports/images.ts'
import { authenticate, type TokenVerifier } from '../authenticate.ts'
import { acceptJson } from '../parse.ts'
import type { HttpService } from '../server.ts'
import { glanceErrors } from './envelope.ts'
import { imageDataRoutes } from './image-data.ts'
import { imageRoutes } from './images.ts'
import { memberRoutes } from './members.ts'
import { schemaRoutes } from './schemas.ts'
import { versionRoutes } from './versions.ts'

export interface Images {
  service: HttpService
  /** What volumes and servers use. */
  registry: ImageRegistry
}

/** Image v2, whole: tables, files, rules and HTTP. */
export async function createImages(options: ImageOptions & { tokens: TokenVerifier }): Promise<Images> {
  const image = await createImageApp(options)
  return { service: imageService(image, options.tokens), registry: image.registry }
}

function imageService(image: ImageApp, tokens: TokenVerifier): HttpService {
  return {
    prefix: '/image',
    plugin: async (app) => {
      acceptJson(app)
      glanceErrors(app)
      versionRoutes(app)
      void app.register(async (scope) => {
        scope.addHook('onRequest', authenticate(tokens))
        imageRoutes(scope, image)
        memberRoutes(scope, image)
        schemaRoutes(scope)
        // A scope of its own, because its bodies are not JSON.
        void scope.register(async (data) => imageDataRoutes(data, image))
      })
    },
  }
}
