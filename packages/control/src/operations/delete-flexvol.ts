import { DomainError } from '@volant/contract'
import { nothingToUndo, operation } from '@volant/saga'
import type { FlexVol } from '../domain/volume.ts'
import type { Backend } from '../ports/backend.ts'
import type { FlexVolRecords } from '../ports/records.ts'
import { callerOf } from './caller.ts'

export interface DeleteFlexVolInput {
  flexvolId: string
  cluster: string
  /** As it is recorded: the folder is removed after the record. */
  flexvol: FlexVol
}

export interface DeleteFlexVolPorts {
  flexvols: Pick<FlexVolRecords, 'find' | 'removeEmpty'>
  backend: Pick<Backend, 'usageAt' | 'ensureNoFlexVolAt'>
}

/** Removes an empty FlexVol: its record first, so that nothing new is made in it, then its folder. */
export const deleteFlexVol = operation<DeleteFlexVolInput, DeleteFlexVolPorts>('flexvol.delete', {
  version: 1,
})
  .holds((input) => [
    `flexvol/${input.flexvolId}`,
    // Nobody makes one of that name while its folder goes.
    `flexvol-name/${input.cluster}/${input.flexvol.name}`,
  ])

  // Files that no record knows would keep the folder, and the FlexVol would be gone half.
  .step('checkFolder', {
    do: async ({ input, ports }) => {
      const { images } = await ports.backend.usageAt(input.flexvol, input.flexvol)
      if (images > 0) {
        throw new DomainError(
          'conflict',
          `FlexVol ${input.flexvol.name} holds ${images} image(s) that no record knows. See: volant sweep`,
        )
      }
      return null
    },
    undo: nothingToUndo,
  })

  .commit('removeRecord', {
    do: async ({ input, ports }) => {
      if (await ports.flexvols.removeEmpty(input.flexvolId)) return null
      throw new DomainError(
        'conflict',
        `A volume has been made in FlexVol ${input.flexvol.name} meanwhile. Nothing was changed.`,
      )
    },
    happened: async ({ input, ports }) => (await ports.flexvols.find(input.flexvolId)) === undefined,
  })

  .step('removeFolder', {
    do: async ({ op, input, ports }) => {
      await ports.backend.ensureNoFlexVolAt(callerOf(op), input.flexvol, input.flexvol)
      return null
    },
    skip: 'an empty folder stays behind on the aggregate, which keeps the aggregate from being deleted',
  })
