import { Type, type Static } from 'typebox'

/** Every error of `/ndo/v1`. `code` is one of the contract's error codes, `status` the HTTP status. */
export const NdoError = Type.Object({
  error: Type.Object({
    code: Type.String(),
    status: Type.Integer(),
    message: Type.String(),
  }),
})
export type NdoError = Static<typeof NdoError>
